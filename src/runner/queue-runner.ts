import { childConnection } from './child.js';
import { serveQueue } from './queue-server.js';

/** Entry of the child process that speaks with a queue. It does no audits, and what does them knows no queue. */

serveQueue(childConnection());
