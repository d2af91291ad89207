"""The API as its document promises it."""
