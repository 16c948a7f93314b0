// Starts the Bot API emulator of the package at the first argument, on the port that is the second.
const [, , folder, port] = process.argv;
const TelegramServer = require(folder);
new TelegramServer({ host: "127.0.0.1", port: Number(port), storage: "RAM", storeTimeout: 600 }).start();
