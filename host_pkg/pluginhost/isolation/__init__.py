"""Plugins in processes of their own: the wire between a host and the child that runs one.

Imports point down, within this package as in the one around it, and nothing of it is imported before isolation is
asked for:

```
worker         loading                   a child's main; the way from a candidate to an object that a child answers
starting                                 how a child comes to have made the plugin
plugins                                  a plugin's life and calls there
children       supervision               one child, from its start to its end; child after child, of whatever kind
far            offered   mortal          a plugin's host, as the child has it; the host's answers to it; a child's end
awaiting       back      outbox          channels for coroutines; where a child's come from; events on their way to it
remote         records   output          what stands for a plugin; a child's log records; what it writes
pool           serving   looping         one side's channels, and who has which; who answers; a child's event loop
channel        services  spawning        one call after the other; what a child asks for; who starts children
groups         restarts                  a process and what it starts, to their end; when there is another
reports        handshake                 what a child says of its plugin; who is there, and what must be the same
codec          system                    a contract's calls as messages; what is Linux's own, and its portable twin
shapes         failures   arena   lines  types as they cross; what was raised; large bodies; bytes over a socket in time
frames                                   what crosses, and its bounds
```
"""
