// A callee and caller in JavaScript: the procedures below `com.example.test` of market_callee.py.
//
//     node test_callee.cjs LIBRARY URL REALM SERIALIZER
//
// LIBRARY is `wampy` or `autobahn`, SERIALIZER `json`, `msgpack` or `cbor`. Says `ready` on standard
// output whenever all procedures are registered (again after the router was away), and ends with
// standard input.

const WebSocket = require('ws')

const [library, url, realm, serializer] = process.argv.slice(2)
const PREFIX = 'com.example.test.'

// The test's process holds the other end, and nothing else ever comes through.
process.stdin.on('end', () => process.exit()).resume()

// What both libraries do in their own words. A procedure takes positional and named arguments and a
// function that sends a progressive result, and gives `{ args, kwargs }` or throws a Failure.
class Failure extends Error {
  constructor (uri, args = [], kwargs = {}) {
    super(uri)
    Object.assign(this, { uri, args, kwargs })
  }
}

function procedures (session) {
  const heard = []
  let wake = () => {}
  session.onHeard = (args, kwargs) => {
    heard.push({ args, kwargs })
    wake()
  }
  return {
    echo: (args, kwargs) => ({ args, kwargs }),
    fail: ([uri, ...args], kwargs) => {
      throw new Failure(uri, args, kwargs)
    },
    // Neither library tells a callee of an interrupt.
    slow: async ([seconds = 30]) => {
      await session.publish(PREFIX + 'started')
      await new Promise(resolve => setTimeout(resolve, Number(seconds) * 1000))
      return { args: ['slept'] }
    },
    seen_interrupts: () => ({ args: [0] }),
    big: () => {
      const exact = [2n ** 64n - 1n, 2n ** 63n, 2n ** 63n - 1n, -(2n ** 63n), 2n ** 53n + 1n]
      // JSON has but JavaScript's own numbers.
      return { args: [serializer === 'json' ? exact.map(Number) : exact] }
    },
    binary: ([bytes]) => {
      if (bytes === undefined) return { args: [Uint8Array.from({ length: 256 }, (_, i) => i)] }
      return { args: [bytes instanceof Uint8Array ? Uint8Array.from(bytes).reverse() : typeof bytes] }
    },
    nothing: () => ({}),
    null: () => ({ args: [null] }),
    progress: async ([count], _kwargs, progress) => {
      // autobahn has none for a caller who takes none; wampy sends them all the same.
      for (let i = 1; i <= count; i++) progress?.([i])
      return { args: ['done'] }
    },
    die: () => process.kill(process.pid, 'SIGKILL'),
    // As a publisher, a subscriber and a caller.
    announce: async ([topic, ...args], kwargs) => {
      await session.publish(topic, args, kwargs)
      return {}
    },
    heard: async () => {
      while (heard.length === 0) await new Promise(resolve => { wake = resolve })
      return heard.shift()
    },
    relay: ([procedure, ...args], kwargs) => session.call(procedure, args, kwargs),
    gather: async ([procedure, ...args]) => {
      const seen = []
      const { args: [final] } = await session.call(procedure, args, {}, args => seen.push(args[0]))
      return { args: [[seen, final]] }
    },
    give_up: async ([procedure, mode]) => {
      try {
        await session.giveUp(procedure, mode)
      } catch (error) {
        return { args: [error.uri ?? error.message] }
      }
      return { args: ['answered'] }
    }
  }
}

async function offer (session) {
  for (const [name, procedure] of Object.entries(procedures(session))) {
    await session.register(PREFIX + name, procedure)
  }
  await session.subscribe(PREFIX + 'hear', (args, kwargs) => session.onHeard(args, kwargs))
  console.log('ready')
}

async function withWampy () {
  const { Wampy } = require('wampy')
  const { MsgpackSerializer } = require('wampy/MsgpackSerializer.js')
  const { CborSerializer } = require('wampy/CborSerializer.js')
  const { JsonSerializer } = require('wampy/JsonSerializer.js')
  const Serializer = { json: JsonSerializer, msgpack: MsgpackSerializer, cbor: CborSerializer }[serializer]
  const payload = (args, kwargs) => ({ argsList: args ?? [], argsDict: kwargs ?? {} })
  const result = ({ argsList, argsDict }) => ({ args: argsList ?? [], kwargs: argsDict ?? {} })
  const failure = error => new Failure(error.errorUri ?? error.message, error.argsList, error.argsDict)

  // A session for each connection: it registers again only by its own long intervals.
  for (;;) {
    const closed = Promise.withResolvers?.() ?? {}
    closed.promise ??= new Promise(resolve => { closed.resolve = resolve })
    const wampy = new Wampy(url, {
      realm,
      ws: WebSocket,
      serializer: new Serializer(),
      autoReconnect: false,
      onClose: closed.resolve,
      onError: error => console.error(error.message)
    })
    try {
      await wampy.connect()
      await offer({
        register: (name, procedure) => wampy.register(name, async ({ argsList, argsDict, result_handler }) => {
          const progress = args => result_handler({ ...payload(args), options: { progress: true } })
          try {
            const { args, kwargs } = await procedure(argsList ?? [], argsDict ?? {}, progress)
            return payload(args, kwargs)
          } catch (error) {
            throw { error: error.uri, argsList: error.args, argsDict: error.kwargs }
          }
        }),
        // Options that are not given are sent as `undefined`, which only JSON leaves out.
        subscribe: (topic, handler) => wampy.subscribe(topic, ({ argsList, argsDict }) => {
          handler(argsList ?? [], argsDict ?? {})
        }, { match: 'exact', get_retained: false }),
        publish: (topic, args, kwargs) => wampy.publish(topic, payload(args, kwargs)),
        call: (procedure, args, kwargs, progress) => {
          const options = progress ? { progress_callback: ({ argsList }) => progress(argsList) } : {}
          return wampy.call(procedure, payload(args, kwargs), options).then(result, error => { throw failure(error) })
        },
        giveUp: (procedure, mode) => {
          const call = wampy.call(procedure)
          wampy.cancel(wampy.getOpStatus().reqId, { mode })
          return call.catch(error => { throw failure(error) })
        }
      })
      await closed.promise
    } catch (error) {
      console.error(error.message)
      await new Promise(resolve => setTimeout(resolve, 100))
    }
  }
}

function withAutobahn () {
  // Node.js 20 has none. A browser's does not throw where nobody listens to errors.
  globalThis.WebSocket = class extends WebSocket {
    constructor (...args) {
      super(...args)
      this.on('error', error => console.error(error.message))
    }
  }
  const autobahn = require('autobahn')
  const { JSONSerializer, MsgpackSerializer, CBORSerializer } = autobahn.serializer
  const Serializer = { json: JSONSerializer, msgpack: MsgpackSerializer, cbor: CBORSerializer }[serializer]
  const result = given => given instanceof autobahn.Result ? given : { args: [given], kwargs: {} }
  const failure = error => new Failure(error.error, error.args, error.kwargs)
  const connection = new autobahn.Connection({
    url,
    realm,
    serializers: [new Serializer()],
    max_retries: -1,
    initial_retry_delay: 0.1,
    max_retry_delay: 0.5,
    on_user_error: () => {},
    on_internal_error: error => console.error(error)
  })
  connection.onclose = (reason, details) => {
    console.error(`closed: ${reason} ${JSON.stringify(details)}`)
    return false
  }
  connection.onopen = session => offer({
    register: (name, procedure) => session.register(name, async (args, kwargs, { progress }) => {
      try {
        const given = await procedure(args, kwargs, progress)
        return new autobahn.Result(given.args, given.kwargs)
      } catch (error) {
        throw new autobahn.Error(error.uri ?? error.message, error.args, error.kwargs)
      }
    }),
    subscribe: (topic, handler) => session.subscribe(topic, handler),
    publish: (topic, args, kwargs) => session.publish(topic, args, kwargs, { acknowledge: true }),
    call: (procedure, args, kwargs, progress) => {
      const call = session.call(procedure, args, kwargs, progress ? { receive_progress: true } : {})
      return call.then(result, error => { throw failure(error) }, given => progress?.(result(given).args))
    },
    giveUp: (procedure, mode) => {
      const call = session.call(procedure)
      call.cancel({ mode })
      return call.then(result, error => { throw failure(error) })
    }
  }).catch(error => {
    console.error(error)
    process.exit(1)
  })
  connection.open()
}

({ wampy: withWampy, autobahn: withAutobahn })[library]()
