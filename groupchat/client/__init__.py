"""The command-line client. It imports nothing of the server but `core`, `wire` and `quic`.

    cli -> run -> chat -> session     `run` puts a chat together, of a session and a view
                       -> view
        -> plain                      the plain client, which sends what is typed as it stands

A session is one seat in a group: `polled` over the five messages, `numbered` over a stream of lines, which may be TCP
(`tcp`), TLS (`tls`) or QUIC (`quic`). A numbered session has an `outbox` of commands, and a `reconnector` that makes
one `line_connection` after the other. A view shows the chat and takes what is typed: `screen` on a terminal, `piped` in
pipes and scripts. `plain` and `polled` share the UDP `conversation`. The rest knows no socket, clock or terminal.

    chat -> files.sharing -> files.transfers -> files.connection -> lazy_quic -> quic
                                             -> files.parts
    cli -> files.oneshot -> files.transfers
"""
