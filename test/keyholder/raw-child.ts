import { say } from './raw-client.ts';

/** `SOCKET TEXT`: prints what is answered. To be run as somebody else. */
const [socket = '', text = ''] = process.argv.slice(2);
process.stdout.write(await say(socket, text));
