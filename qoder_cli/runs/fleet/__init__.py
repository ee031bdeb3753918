"""Many runs: started together, watched through the lists, with one answer for all."""
