"""Many runs: started together, watched through lists, with one exit code."""
