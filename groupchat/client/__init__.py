"""The clients. They know the wire and nothing of the server: from groupchat they import this package and the version.

    cli -> run -> chat -> session     `run` puts a chat together: what it runs over, and where it is seen
                       -> view

A session is one seat in a group: `polled` over the five messages, `numbered` over a stream, of which `wire` is one
connection, and which may be one of `tls`. A view is where somebody reads and types: `screen` on a terminal, `piped`
where nobody looks. `plain` is the plain client, which sends what is typed as it stands; it and `polled` share the
conversation in `udp`. The rest knows no socket, no clock and no terminal.

    chat -> files.sharing -> files.transfers -> files.way -> quic
                                             -> files.parts
    scripts -> files.transfers
"""
