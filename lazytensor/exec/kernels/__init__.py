"""What steps of tasks compute on arrays: downsampling and gathering, in blocked NumPy."""
