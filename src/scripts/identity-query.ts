import { type Fragment, readTemplate, renderFragment } from './template.ts';

/**
 * What a script puts behind the address of a machine's script: `?mac=…&uuid=…`. What comes back must be verified; it never
 * stands on a kernel's line.
 */
export function identityQuery(): Fragment {
  return renderFragment('identity.ipxe', readTemplate('identity.ipxe'), {});
}
