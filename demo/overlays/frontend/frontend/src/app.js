console.log("Even Keel Travel, spring");
