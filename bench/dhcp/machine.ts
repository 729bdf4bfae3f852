/** Machines that are written down. */
export const MACHINES = 10_000;
/** Invented MACs in a second. */
export const FLOOD = 5_000;

/** Of one that is written down. */
export function macOf(machine: number): string {
  return `52:54:00${tail(machine)}`;
}

/** Of one that nobody knows. */
export function inventedMac(count: number): string {
  return `52:54:01${tail(count)}`;
}

function tail(number: number): string {
  return Buffer.of(number >> 16, number >> 8, number)
    .toString('hex')
    .replace(/../g, ':$&');
}
