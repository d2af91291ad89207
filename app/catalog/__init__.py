"""The templates that an operator offers."""
