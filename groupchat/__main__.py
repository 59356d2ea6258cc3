"""`python -m groupchat` is the client, as the command `groupchat` is."""

from groupchat.client.cli import main

if __name__ == "__main__":
    main()
