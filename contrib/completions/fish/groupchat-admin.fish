# Made by tools/completions.py: do not edit.

complete -c groupchat-admin -f

complete -c groupchat-admin -n 'not __fish_seen_subcommand_from status who log say topic remove mute unmute ban unban bans release erase set reload config stop audit check history members restore backup repair' -a status -d 'print how the daemon is'
complete -c groupchat-admin -n 'not __fish_seen_subcommand_from status who log say topic remove mute unmute ban unban bans release erase set reload config stop audit check history members restore backup repair' -a who -d 'print the members, and how they are connected'
complete -c groupchat-admin -n 'not __fish_seen_subcommand_from status who log say topic remove mute unmute ban unban bans release erase set reload config stop audit check history members restore backup repair' -a log -d 'print the last lines with their numbers'
complete -c groupchat-admin -n 'not __fish_seen_subcommand_from status who log say topic remove mute unmute ban unban bans release erase set reload config stop audit check history members restore backup repair' -a say -d 'tell everybody something'
complete -c groupchat-admin -n 'not __fish_seen_subcommand_from status who log say topic remove mute unmute ban unban bans release erase set reload config stop audit check history members restore backup repair' -a topic -d 'set the topic'
complete -c groupchat-admin -n 'not __fish_seen_subcommand_from status who log say topic remove mute unmute ban unban bans release erase set reload config stop audit check history members restore backup repair' -a remove -d 'remove a member'
complete -c groupchat-admin -n 'not __fish_seen_subcommand_from status who log say topic remove mute unmute ban unban bans release erase set reload config stop audit check history members restore backup repair' -a mute -d 'let a member only read'
complete -c groupchat-admin -n 'not __fish_seen_subcommand_from status who log say topic remove mute unmute ban unban bans release erase set reload config stop audit check history members restore backup repair' -a unmute -d 'end a mute'
complete -c groupchat-admin -n 'not __fish_seen_subcommand_from status who log say topic remove mute unmute ban unban bans release erase set reload config stop audit check history members restore backup repair' -a ban -d 'ban a name, an address or a network'
complete -c groupchat-admin -n 'not __fish_seen_subcommand_from status who log say topic remove mute unmute ban unban bans release erase set reload config stop audit check history members restore backup repair' -a unban -d 'end a ban'
complete -c groupchat-admin -n 'not __fish_seen_subcommand_from status who log say topic remove mute unmute ban unban bans release erase set reload config stop audit check history members restore backup repair' -a bans -d 'print the bans and mutes'
complete -c groupchat-admin -n 'not __fish_seen_subcommand_from status who log say topic remove mute unmute ban unban bans release erase set reload config stop audit check history members restore backup repair' -a release -d 'free a name that is reserved for somebody who left'
complete -c groupchat-admin -n 'not __fish_seen_subcommand_from status who log say topic remove mute unmute ban unban bans release erase set reload config stop audit check history members restore backup repair' -a erase -d 'erase lines for good'
complete -c groupchat-admin -n 'not __fish_seen_subcommand_from status who log say topic remove mute unmute ban unban bans release erase set reload config stop audit check history members restore backup repair' -a set -d 'change a setting'
complete -c groupchat-admin -n 'not __fish_seen_subcommand_from status who log say topic remove mute unmute ban unban bans release erase set reload config stop audit check history members restore backup repair' -a reload -d 'read the configuration, passwords and certificates anew'
complete -c groupchat-admin -n 'not __fish_seen_subcommand_from status who log say topic remove mute unmute ban unban bans release erase set reload config stop audit check history members restore backup repair' -a config -d 'print the settings, and where they come from'
complete -c groupchat-admin -n 'not __fish_seen_subcommand_from status who log say topic remove mute unmute ban unban bans release erase set reload config stop audit check history members restore backup repair' -a stop -d 'stop the daemon'
complete -c groupchat-admin -n 'not __fish_seen_subcommand_from status who log say topic remove mute unmute ban unban bans release erase set reload config stop audit check history members restore backup repair' -a audit -d 'print what operators did'
complete -c groupchat-admin -n 'not __fish_seen_subcommand_from status who log say topic remove mute unmute ban unban bans release erase set reload config stop audit check history members restore backup repair' -a check -d 'print what is in FILE, and check that it is sound'
complete -c groupchat-admin -n 'not __fish_seen_subcommand_from status who log say topic remove mute unmute ban unban bans release erase set reload config stop audit check history members restore backup repair' -a history -d 'print the lines that are kept'
complete -c groupchat-admin -n 'not __fish_seen_subcommand_from status who log say topic remove mute unmute ban unban bans release erase set reload config stop audit check history members restore backup repair' -a members -d 'print the members, and how far behind they are'
complete -c groupchat-admin -n 'not __fish_seen_subcommand_from status who log say topic remove mute unmute ban unban bans release erase set reload config stop audit check history members restore backup repair' -a restore -d 'put a copy of BACKUP in the place of FILE'
complete -c groupchat-admin -n 'not __fish_seen_subcommand_from status who log say topic remove mute unmute ban unban bans release erase set reload config stop audit check history members restore backup repair' -a backup -d 'copy FILE, even while a daemon uses it'
complete -c groupchat-admin -n 'not __fish_seen_subcommand_from status who log say topic remove mute unmute ban unban bans release erase set reload config stop audit check history members restore backup repair' -a repair -d 'write what is sound in a damaged FILE to a new file'
complete -c groupchat-admin -n 'not __fish_seen_subcommand_from status who log say topic remove mute unmute ban unban bans release erase set reload config stop audit check history members restore backup repair' -s h -l help -d 'show this help message and exit'
complete -c groupchat-admin -n 'not __fish_seen_subcommand_from status who log say topic remove mute unmute ban unban bans release erase set reload config stop audit check history members restore backup repair' -l version -d 'show program\'s version number and exit'
complete -c groupchat-admin -n 'not __fish_seen_subcommand_from status who log say topic remove mute unmute ban unban bans release erase set reload config stop audit check history members restore backup repair' -l db -r -F -d 'the file of the group (groupchat.sqlite)'
complete -c groupchat-admin -n 'not __fish_seen_subcommand_from status who log say topic remove mute unmute ban unban bans release erase set reload config stop audit check history members restore backup repair' -l control -r -F -d 'the control socket of the daemon (FILE.control)'

complete -c groupchat-admin -n '__fish_seen_subcommand_from status' -s h -l help -d 'show this help message and exit'
complete -c groupchat-admin -n '__fish_seen_subcommand_from status' -l json -d 'one JSON object a line'

complete -c groupchat-admin -n '__fish_seen_subcommand_from who' -s h -l help -d 'show this help message and exit'
complete -c groupchat-admin -n '__fish_seen_subcommand_from who' -l watch -d 'renew it until Ctrl-C'
complete -c groupchat-admin -n '__fish_seen_subcommand_from who' -l json -d 'one JSON object a line'

complete -c groupchat-admin -n '__fish_seen_subcommand_from log' -s h -l help -d 'show this help message and exit'
complete -c groupchat-admin -n '__fish_seen_subcommand_from log' -l follow -d 'and those that come'
complete -c groupchat-admin -n '__fish_seen_subcommand_from log' -l lines -x -d 'so many (20)'

complete -c groupchat-admin -n '__fish_seen_subcommand_from say' -s h -l help -d 'show this help message and exit'

complete -c groupchat-admin -n '__fish_seen_subcommand_from topic' -s h -l help -d 'show this help message and exit'

complete -c groupchat-admin -n '__fish_seen_subcommand_from remove' -s h -l help -d 'show this help message and exit'
complete -c groupchat-admin -n '__fish_seen_subcommand_from remove' -l why -x -d 'the reason, which the member is told'

complete -c groupchat-admin -n '__fish_seen_subcommand_from mute' -s h -l help -d 'show this help message and exit'
complete -c groupchat-admin -n '__fish_seen_subcommand_from mute' -l why -x -d 'the reason, which the member is told'

complete -c groupchat-admin -n '__fish_seen_subcommand_from unmute' -s h -l help -d 'show this help message and exit'

complete -c groupchat-admin -n '__fish_seen_subcommand_from ban' -s h -l help -d 'show this help message and exit'
complete -c groupchat-admin -n '__fish_seen_subcommand_from ban' -l for -x -d '90m, 12h, 7d'
complete -c groupchat-admin -n '__fish_seen_subcommand_from ban' -l yes -d 'even if it concerns everybody'
complete -c groupchat-admin -n '__fish_seen_subcommand_from ban' -l why -x -d 'the reason, which the member is told'

complete -c groupchat-admin -n '__fish_seen_subcommand_from unban' -s h -l help -d 'show this help message and exit'

complete -c groupchat-admin -n '__fish_seen_subcommand_from bans' -s h -l help -d 'show this help message and exit'
complete -c groupchat-admin -n '__fish_seen_subcommand_from bans' -l json -d 'one JSON object a line'

complete -c groupchat-admin -n '__fish_seen_subcommand_from release' -s h -l help -d 'show this help message and exit'

complete -c groupchat-admin -n '__fish_seen_subcommand_from erase' -s h -l help -d 'show this help message and exit'
complete -c groupchat-admin -n '__fish_seen_subcommand_from erase' -l member -x -d 'all lines of this member, who may have left'
complete -c groupchat-admin -n '__fish_seen_subcommand_from erase' -l why -x -d 'the reason, which the member is told'

complete -c groupchat-admin -n '__fish_seen_subcommand_from set' -s h -l help -d 'show this help message and exit'

complete -c groupchat-admin -n '__fish_seen_subcommand_from reload' -s h -l help -d 'show this help message and exit'

complete -c groupchat-admin -n '__fish_seen_subcommand_from config' -s h -l help -d 'show this help message and exit'
complete -c groupchat-admin -n '__fish_seen_subcommand_from config' -l json -d 'one JSON object a line'

complete -c groupchat-admin -n '__fish_seen_subcommand_from stop' -s h -l help -d 'show this help message and exit'

complete -c groupchat-admin -n '__fish_seen_subcommand_from audit' -s h -l help -d 'show this help message and exit'
complete -c groupchat-admin -n '__fish_seen_subcommand_from audit' -l lines -x -d 'the last N (100)'
complete -c groupchat-admin -n '__fish_seen_subcommand_from audit' -l json -d 'one JSON object a line'

complete -c groupchat-admin -n '__fish_seen_subcommand_from check' -s h -l help -d 'show this help message and exit'
complete -c groupchat-admin -n '__fish_seen_subcommand_from check' -l files -r -F -d 'the directory of shared files'
complete -c groupchat-admin -n '__fish_seen_subcommand_from check' -F

complete -c groupchat-admin -n '__fish_seen_subcommand_from history' -s h -l help -d 'show this help message and exit'
complete -c groupchat-admin -n '__fish_seen_subcommand_from history' -l since -x -d 'only newer lines: since a local date or time, or within 90m, 12h, 7d (minutes, hours, days)'
complete -c groupchat-admin -n '__fish_seen_subcommand_from history' -l json -d 'one JSON object a line'
complete -c groupchat-admin -n '__fish_seen_subcommand_from history' -F

complete -c groupchat-admin -n '__fish_seen_subcommand_from members' -s h -l help -d 'show this help message and exit'
complete -c groupchat-admin -n '__fish_seen_subcommand_from members' -l json -d 'one JSON object a line'
complete -c groupchat-admin -n '__fish_seen_subcommand_from members' -F

complete -c groupchat-admin -n '__fish_seen_subcommand_from restore' -s h -l help -d 'show this help message and exit'
complete -c groupchat-admin -n '__fish_seen_subcommand_from restore' -F

complete -c groupchat-admin -n '__fish_seen_subcommand_from backup' -s h -l help -d 'show this help message and exit'
complete -c groupchat-admin -n '__fish_seen_subcommand_from backup' -l keep -x -d 'remove older backups, so that N stay'
complete -c groupchat-admin -n '__fish_seen_subcommand_from backup' -F

complete -c groupchat-admin -n '__fish_seen_subcommand_from repair' -s h -l help -d 'show this help message and exit'
complete -c groupchat-admin -n '__fish_seen_subcommand_from repair' -F
