MAIL_FROM = "fair@example.org"
