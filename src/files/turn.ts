let turn = 0;
let isCounting = false;

/**
 * Which turn of the event loop this is, counted from 0. What is read from sockets in one turn was waiting there when the turn
 * began: a look at the disk in it is younger than every request that it answers.
 */
export function turnOfLoop(): number {
  if (!isCounting) {
    isCounting = true;
    // Runs when this turn's sockets have been read, and before the next ones are (libuv: poll, then check).
    setImmediate(() => {
      isCounting = false;
      turn += 1;
    });
  }
  return turn;
}
