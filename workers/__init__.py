"""What is slow: arq jobs that drive the engine and send mail."""
