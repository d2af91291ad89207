"""Slow work: arq jobs that drive the engine and send mail."""
