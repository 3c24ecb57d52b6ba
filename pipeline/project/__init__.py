"""Commands on a whole project: run, reproduce, repair, rename and remove."""
