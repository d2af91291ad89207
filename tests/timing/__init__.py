"""Whether the time that an answer takes tells what nobody is to know."""
