bind = "0.0.0.0:5000"
workers = 3
threads = 4
worker_tmp_dir = "/dev/shm"
