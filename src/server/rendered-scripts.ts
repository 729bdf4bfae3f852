import { UKI } from '../formats/records/seal-names.ts';
import { compileAutoexec, compileUnverifiedScript } from '../scripts/compile.ts';
import type { ServableRelease } from '../trust/verified-release.ts';
import type { Configuration } from './configuration.ts';

/** Scripts that are of no release, since they name the port of the server: by name, their text. */
export function renderedScripts(
  release: ServableRelease,
  configuration: Configuration,
  port: number,
  arch: string | undefined,
): [string, string][] {
  const server = { kind: 'typed', port } as const;
  const allowUnverified = configuration.allow_unverified_loaders;
  const scripts: [string, string][] = [
    [
      'autoexec.ipxe',
      compileAutoexec({
        allowUnverified,
        bootSigner: release.bootSigner,
        server,
        uki: release.files.has(UKI),
        ...(arch === undefined ? {} : { arch }),
      }),
    ],
  ];
  if (allowUnverified) scripts.push(['unverified.ipxe', compileUnverifiedScript({ ...release, server })]);
  return scripts;
}
