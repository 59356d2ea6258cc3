"""The client's side of shared files.

sharing     what somebody in a chat asks for
transfers   what is under way; `progress` is how that reads
way         how one gets to the server, which is `late` loaded, since few chats need it
wire        one request, over any stream
parts       what of a file is on the disk; `names` is what it may be called
"""
