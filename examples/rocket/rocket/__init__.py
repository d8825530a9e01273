"""A model rocket's flight, from the rail to the grass."""
