console.log("Even Keel Travel, summer: prices in euro");
