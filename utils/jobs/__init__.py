"""What utils/local.py, utils/slurm.py and utils/launch.py are made of."""
