// fox-wamp on loopback: what its `bin/basic.js` does, on a port of its own choice.
//
//     node fox_router.cjs PORT
//
// Says `listening PORT` when clients may come.

const Router = require('fox-wamp')

const server = new Router().listenWAMP({ host: '127.0.0.1', port: Number(process.argv[2]) })
server.on('listening', () => console.log(`listening ${server.address().port}`))
