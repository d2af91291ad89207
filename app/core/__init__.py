"""What every package stands on: settings, database, queue, clock, logging, languages, errors."""
