import type { BootEvent } from '../emulator/boot.ts';

/** One line of a boot's trace, or undefined for what is too small to tell. */
export function traceLine(event: BootEvent): string | undefined {
  switch (event.kind) {
    case 'fetch':
      return `${event.stage}: fetch ${event.url}${
        'range' in event && event.range ? `, bytes ${event.range.first} to ${event.range.last}` : ''
      }`;
    case 'verification':
      return event.refusal
        ? `${event.stage}: ${event.image}: refused, ${event.refusal.message}`
        : `${event.stage}: ${event.image}: verified${event.signer ? ` (${event.signer})` : ''}`;
    case 'trust-required':
      return event.required
        ? `${event.stage}: only trusted images may be executed${event.permanent ? ', for good' : ''}`
        : undefined;
    case 'console': {
      const text = event.text.trimEnd();
      return text ? `${event.stage}: | ${text}` : undefined;
    }
    case 'execute':
      return `${event.stage}: execute ${event.name}`;
    default:
      return undefined;
  }
}
