// The calculator as the original was: Node's http module, an infix expression turned into postfix, one call to a service
// for each operation, made by sync-request, which blocks the process until the answer is there.
// Usage: node calculator.js PORT SUM_PORT SUB_PORT MUL_PORT DIV_PORT
'use strict';

const http = require('http');
const request = require('sync-request');

const [port, sum, sub, mul, div] = process.argv.slice(2);
const services = { '+': sum, '-': sub, '*': mul, '/': div };
const precedence = { '+': 1, '-': 1, '*': 2, '/': 2 };

function postfix(expression) {
  const output = [];
  const operators = [];
  for (const token of expression.match(/[0-9.]+|[-+*/()]/g)) {
    if (token === '(') {
      operators.push(token);
    } else if (token === ')') {
      while (operators[operators.length - 1] !== '(') output.push(operators.pop());
      operators.pop();
    } else if (token in services) {
      while (precedence[operators[operators.length - 1]] >= precedence[token]) output.push(operators.pop());
      operators.push(token);
    } else {
      output.push(token);
    }
  }
  return output.concat(operators.reverse());
}

function evaluate(expression) {
  const stack = [];
  for (const token of postfix(expression)) {
    if (token in services) {
      const right = stack.pop();
      const left = stack.pop();
      const answer = request('POST', `http://127.0.0.1:${services[token]}`, { body: `${left} ${right}` });
      stack.push(answer.getBody('utf8').trim());
    } else {
      stack.push(token);
    }
  }
  return stack.pop();
}

http.createServer((incoming, response) => {
  let body = '';
  incoming.on('data', (chunk) => { body += chunk; });
  incoming.on('end', () => {
    console.log(`New request: ${body}`);
    const result = evaluate(body);
    console.log(`${body} = ${result}`);
    response.writeHead(200, { 'Content-Type': 'text/plain' });
    response.end(`result = ${result}\r\n`);
  });
}).listen(Number(port), '127.0.0.1', () => console.log(`Listening on port: ${port}`));
