import { type Fragment, readTemplate, renderFragment } from './template.ts';

/** What a script that gave up says, and where: at a server's top, which every architecture has in common. */
export function gaveUp(server: string): Fragment {
  return renderFragment('gave-up.ipxe', readTemplate('gave-up.ipxe'), {
    server: { kind: 'base', text: server },
  });
}

/**
 * Whether a line of a script is that one, word for word. It may stand where no trust is demanded yet, since that is one of
 * the things that a script gives up over; what it fetches is like any other image that nobody verified.
 *
 * @param text its commands, one blank between two words.
 */
export function saysGaveUp(text: string): boolean {
  return LINE.test(text);
}

const LINE =
  /^imgfetch --name bootseal\.said --timeout 5000 [^ ?]+\/api\/v1\/boots\/gave-up\?mac=\$\{netX\/mac:hexhyp\}&step=\$\{bootseal-step:hexraw\}&errno=\$\{bootseal-errno:hexraw\} \|\|$/;
