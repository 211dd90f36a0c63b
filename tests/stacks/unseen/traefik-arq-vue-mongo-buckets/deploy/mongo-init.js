db = db.getSiblingDB("millrace");
db.createUser({user: "millrace", pwd: "invented", roles: [{role: "readWrite", db: "millrace"}]});
db.readings.createIndex({gauge: 1, at: -1});
