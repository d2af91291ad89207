"""Everything dies, in turn, while thirty people work: nothing accepted is lost and nothing runs twice."""
