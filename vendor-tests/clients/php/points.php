<?php
// The points with Elephant.io. What it prints is told in ../../harness/foreign.js.

require getenv('ELEPHANT_AUTOLOAD') ?: 'vendor/autoload.php';

use ElephantIO\Client;
use ElephantIO\Engine\Argument;

$transport = getenv('TRANSPORT');

function check(bool $holds, string $what): void
{
    if (!$holds) {
        fwrite(STDERR, "$what\n");
        exit(1);
    }
}

function open(string $url, string $namespace = '/'): Client
{
    global $transport;
    // Without `transports` it begins with long-polling and upgrades.
    $options = ['client' => Client::CLIENT_4X, 'binary_as_resource' => false, 'reuse_connection' => true];
    if ($transport !== 'upgrade') {
        $options += ['transport' => $transport, 'transports' => [$transport]];
    }
    $client = Client::create($url, $options);
    $client->connect();
    $client->of($namespace);

    return $client;
}

/** The first argument of the answer. */
function ask(Client $client, string $event, $args = [])
{
    $answer = $client->emit($event, $args, true);
    check(is_object($answer), "no answer to $event");

    return $answer->data;
}

function hear(Client $client, string $event)
{
    $packet = $client->wait($event, 10);
    check($packet !== null, "no $event");

    return $packet;
}

$main = open(getenv('SUITE_URL'));
foreach ([1, -1.5, true, 'žluťoučký кот てすと 😀', str_repeat('x', 100000), ['a' => [1, ['b' => null]]]] as $value) {
    check(ask($main, 'echo', new Argument($value)) == $value, 'echo of ' . substr(json_encode($value), 0, 60));
}
echo "ok acks\n";

$bytes = "\0\1\2\xfe\xff";
$file = fopen('php://memory', 'w+');
fwrite($file, $bytes);
rewind($file);
$main->emit('buffa', new Argument($file));
hear($main, 'buffack');
$main->emit('getbin', []);
$heard = hear($main, 'takebin')->args[0];
// Beside another argument, here the offset, it leaves the placeholder where the binary belongs.
if ($heard === ['_placeholder' => true, 'num' => 0]) {
    echo "note binary: heard as a placeholder\n";
} else {
    check((is_resource($heard) ? stream_get_contents($heard, -1, 0) : $heard) === 'asdfasdf', 'takebin: ' . json_encode($heard));
}
echo "ok binary\n";

$main->emit('ack', []);
$main->ack(hear($main, 'ack'), new Argument(5, ['test' => true]));
hear($main, 'got it');
echo "ok asked\n";

$id = ask($main, 'getId');
$foo = open(getenv('SUITE_URL'), '/foo');
check(is_string(ask($foo, 'getId')) && ask($foo, 'getId') !== $id, 'two ids');
echo "ok namespaces\n";

try {
    open(getenv('SUITE_URL'), '/no');
    check(false, '/no let it in');
} catch (\Throwable $error) {
    echo 'note refused: ' . str_replace("\n", ' ', $error->getMessage()) . "\nok refused\n";
}

$one = open(getenv('ROOMS_URL'));
$two = open(getenv('ROOMS_URL'));
check(ask($one, 'join', new Argument('tea'))['ok'] && ask($two, 'join', new Argument('tea'))['ok'], 'join');
$two->emit('message', ['room' => 'tea', 'text' => 'hello']);
check(hear($one, 'message')->data['text'] === 'hello' && hear($two, 'message')->data['room'] === 'tea', 'hello');
check(ask($two, 'leave', new Argument('tea'))['ok'], 'leave');
echo "type sendroom tea from the console\n";
check(hear($one, 'message')->data['text'] === 'from the console', 'from the console');
check(ask($two, 'rooms')['rooms'] === [], 'rooms');
echo "ok rooms\n";
echo "lacks stop and start\nlacks kill\n";
