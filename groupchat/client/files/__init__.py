"""The client's side of shared files.

sharing      the commands about files in a chat
oneshot      the commands `groupchat files`, `get` and `send`
transfers    transfers that are running; `progress` shows how far they are
connection   opens a stream for each request
requests     one request over a `stream`
parts        files on the disk; `names` is what they may be called
"""
