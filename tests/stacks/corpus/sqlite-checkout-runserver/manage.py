# Django's command line
