"""What is told of the program: the contents page, topics, the reference, suggestions, completion."""
