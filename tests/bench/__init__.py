"""What is measured: `python -m tests.bench`, `tests.bench.lists`…"""
