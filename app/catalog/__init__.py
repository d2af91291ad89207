"""The operator's templates."""
