"""`python -m tests.bench_many`, which is in tests/bench/many.py."""

from tests.bench.many import main

if __name__ == "__main__":
    main()
