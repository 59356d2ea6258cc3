# Made by tools/completions.py: do not edit.

complete -c groupchat -f

complete -c groupchat -n 'not __fish_seen_subcommand_from chat files get send' -a chat -d 'chat with a server'
complete -c groupchat -n 'not __fish_seen_subcommand_from chat files get send' -a files -d 'list the files of a group'
complete -c groupchat -n 'not __fish_seen_subcommand_from chat files get send' -a get -d 'fetch a file of a group'
complete -c groupchat -n 'not __fish_seen_subcommand_from chat files get send' -a send -d 'send files to a group'
complete -c groupchat -n 'not __fish_seen_subcommand_from chat files get send' -s h -l help -d 'show this help message and exit'
complete -c groupchat -n 'not __fish_seen_subcommand_from chat files get send' -l version -d 'show the version and exit'
complete -c groupchat -n 'not __fish_seen_subcommand_from chat files get send' -l name -x -d 'your name in the group'
complete -c groupchat -n 'not __fish_seen_subcommand_from chat files get send' -l poll -x -d 'over UDP: how often to ask what is new (2)'
complete -c groupchat -n 'not __fish_seen_subcommand_from chat files get send' -l quic-port -x -d 'for files: the port of QUIC, if it is another one'
complete -c groupchat -n 'not __fish_seen_subcommand_from chat files get send' -l plain -d 'plain lines, as in a pipe, also on a terminal'
complete -c groupchat -n 'not __fish_seen_subcommand_from chat files get send' -l json -d 'everything that happens, as one JSON object a line'
complete -c groupchat -n 'not __fish_seen_subcommand_from chat files get send' -l new-seat -d 'leave with the seat that was kept for you, and take a new one'
complete -c groupchat -n 'not __fish_seen_subcommand_from chat files get send' -l no-times -d 'show no times'
complete -c groupchat -n 'not __fish_seen_subcommand_from chat files get send' -l no-bell -d 'ring no bell for a private message, or your own name'
complete -c groupchat -n 'not __fish_seen_subcommand_from chat files get send' -l password-file -r -F -d 'a file with the password of the group'
complete -c groupchat -n 'not __fish_seen_subcommand_from chat files get send' -l ca -r -F -d 'trust only certificates that this file vouches for'
complete -c groupchat -n 'not __fish_seen_subcommand_from chat files get send' -l trust-new -d 'trust the certificate of a new server without asking'

complete -c groupchat -n '__fish_seen_subcommand_from chat' -s h -l help -d 'show this help message and exit'
complete -c groupchat -n '__fish_seen_subcommand_from chat' -l name -x -d 'your name in the group'
complete -c groupchat -n '__fish_seen_subcommand_from chat' -l poll -x -d 'over UDP: how often to ask what is new (2)'
complete -c groupchat -n '__fish_seen_subcommand_from chat' -l quic-port -x -d 'for files: the port of QUIC, if it is another one'
complete -c groupchat -n '__fish_seen_subcommand_from chat' -l plain -d 'plain lines, as in a pipe, also on a terminal'
complete -c groupchat -n '__fish_seen_subcommand_from chat' -l json -d 'everything that happens, as one JSON object a line'
complete -c groupchat -n '__fish_seen_subcommand_from chat' -l new-seat -d 'leave with the seat that was kept for you, and take a new one'
complete -c groupchat -n '__fish_seen_subcommand_from chat' -l no-times -d 'show no times'
complete -c groupchat -n '__fish_seen_subcommand_from chat' -l no-bell -d 'ring no bell for a private message, or your own name'
complete -c groupchat -n '__fish_seen_subcommand_from chat' -l password-file -r -F -d 'a file with the password of the group'
complete -c groupchat -n '__fish_seen_subcommand_from chat' -l ca -r -F -d 'trust only certificates that this file vouches for'
complete -c groupchat -n '__fish_seen_subcommand_from chat' -l trust-new -d 'trust the certificate of a new server without asking'

complete -c groupchat -n '__fish_seen_subcommand_from files' -s h -l help -d 'show this help message and exit'
complete -c groupchat -n '__fish_seen_subcommand_from files' -l json -d 'one JSON object a line'
complete -c groupchat -n '__fish_seen_subcommand_from files' -l password-file -r -F -d 'a file with the password of the group'
complete -c groupchat -n '__fish_seen_subcommand_from files' -l ca -r -F -d 'trust only certificates that this file vouches for'
complete -c groupchat -n '__fish_seen_subcommand_from files' -l trust-new -d 'trust the certificate of a new server without asking'

complete -c groupchat -n '__fish_seen_subcommand_from get' -s h -l help -d 'show this help message and exit'
complete -c groupchat -n '__fish_seen_subcommand_from get' -l password-file -r -F -d 'a file with the password of the group'
complete -c groupchat -n '__fish_seen_subcommand_from get' -l ca -r -F -d 'trust only certificates that this file vouches for'
complete -c groupchat -n '__fish_seen_subcommand_from get' -l trust-new -d 'trust the certificate of a new server without asking'
complete -c groupchat -n '__fish_seen_subcommand_from get' -F

complete -c groupchat -n '__fish_seen_subcommand_from send' -s h -l help -d 'show this help message and exit'
complete -c groupchat -n '__fish_seen_subcommand_from send' -l name -x -d 'the name of the guest (your login name)'
complete -c groupchat -n '__fish_seen_subcommand_from send' -l password-file -r -F -d 'a file with the password of the group'
complete -c groupchat -n '__fish_seen_subcommand_from send' -l ca -r -F -d 'trust only certificates that this file vouches for'
complete -c groupchat -n '__fish_seen_subcommand_from send' -l trust-new -d 'trust the certificate of a new server without asking'
complete -c groupchat -n '__fish_seen_subcommand_from send' -F
