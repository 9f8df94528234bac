"""The dialog Computers, the files of another computer, and the connection's bar."""
