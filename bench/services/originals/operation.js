// One of the four services as the originals were: Node's http module, parseFloat, a line of log for each request.
// Usage: node operation.js NAME PORT
'use strict';

const http = require('http');

const operations = {
  sum: (left, right) => left + right,
  sub: (left, right) => left - right,
  mul: (left, right) => left * right,
  div: (left, right) => left / right,
};
const [name, port] = process.argv.slice(2);
const compute = operations[name];

http.createServer((request, response) => {
  let body = '';
  request.on('data', (chunk) => { body += chunk; });
  request.on('end', () => {
    const [left, right] = body.split(' ');
    const result = compute(parseFloat(left), parseFloat(right));
    console.log(`New request: ${name} ${left} ${right} = ${result}`);
    response.writeHead(200, { 'Content-Type': 'text/plain' });
    response.end(`${result}\r\n`);
  });
}).listen(Number(port), '127.0.0.1', () => console.log(`Listening on port: ${port}`));
