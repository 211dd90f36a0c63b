# rq.Worker(sys.argv[1:]).work()
