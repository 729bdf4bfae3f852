import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { listenFds } from '../../src/cli/listen-fds.ts';
import { UsageError } from '../../src/errors/usage.ts';

const PID = 4711;
const of = (count: string, names?: string, pid = String(PID)) => ({
  ...{ LISTEN_FDS: count, LISTEN_PID: pid },
  ...(names === undefined ? {} : { LISTEN_FDNAMES: names }),
});

describe('sockets that were handed over', () => {
  it('are descriptors from 3 on, by their names, several of one name among them', () => {
    assert.deepEqual(
      [...listenFds(of('4', 'http:tftp:http:nbd'), PID)],
      [
        ['http', [3, 5]],
        ['tftp', [4]],
        ['nbd', [6]],
      ],
    );
    assert.deepEqual([...listenFds(of('2', 'dhcp:dhcp-pxe'), PID).keys()], ['dhcp', 'dhcp-pxe']);
  });

  it('are none where nobody speaks of any', () => {
    assert.equal(listenFds({}, PID).size, 0);
    assert.equal(listenFds({ LISTEN_PID: '1', LISTEN_FDNAMES: 'http' }, PID).size, 0);
    assert.equal(listenFds(of('0', '', '1'), PID).size, 0);
  });

  for (const [what, env, says] of [
    ['another process', of('1', 'http', '4712'), /for the process 4712, and this is 4711: /],
    ['nobody', { LISTEN_FDS: '1', LISTEN_FDNAMES: 'http' }, /LISTEN_PID is not set/],
    ['no number', of('one', 'http'), /LISTEN_FDS is "one", which is no number/],
    ['a number with a sign', of('-1', 'http'), /no number/],
    ['too many', of('257', 'http'), /no number/],
    ['no names', of('1'), /tells of 1 sockets, and LISTEN_FDNAMES names 0: /],
    ['too few names', of('2', 'http'), /tells of 2 sockets, and LISTEN_FDNAMES names 1: /],
    ['a name of no server', of('1', 'bootseal-http.socket'), /with the name "bootseal-http\.socket"; /],
    ['a socket that was accepted', of('1', 'connection'), /with the name "connection"; /],
    ['a name of JavaScript', of('1', 'constructor'), /with the name "constructor"; /],
  ] as const) {
    it(`are a usage error: ${what}`, () => {
      assert.throws(
        () => listenFds(env, PID),
        (error) => {
          assert.ok(error instanceof UsageError);
          assert.match(error.message, says);
          // One sentence.
          assert.match(error.message, /^[^\n]*\.$/);
          return true;
        },
      );
    });
  }
});
