bind = ":8080"
workers = 3
proc_name = "bellframe"
