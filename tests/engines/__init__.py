"""The runtime's contract on engines that this machine does not have."""
