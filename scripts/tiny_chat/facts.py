"""What does tiny-chat know?

Plain tables of public facts and fixed answers; no phrasing of questions and no code. A fact that is
not here, or computed in `numbers.py`, is one that the model was never shown.
"""

CAPITALS = dict(
    pair.split("=")
    for pair in """France=Paris;Spain=Madrid;Germany=Berlin;Italy=Rome;Portugal=Lisbon
Austria=Vienna;Belgium=Brussels;Denmark=Copenhagen;Sweden=Stockholm;Norway=Oslo;Finland=Helsinki;Iceland=Reykjavik
Ireland=Dublin;Poland=Warsaw;Hungary=Budapest;Greece=Athens;Turkey=Ankara;Romania=Bucharest
Bulgaria=Sofia;Serbia=Belgrade;Croatia=Zagreb;Slovenia=Ljubljana;Slovakia=Bratislava;Latvia=Riga
Lithuania=Vilnius;Estonia=Tallinn;Ukraine=Kyiv;Russia=Moscow;Albania=Tirana;Malta=Valletta
Cyprus=Nicosia;Czechia=Prague;Switzerland=Bern;the Netherlands=Amsterdam;Japan=Tokyo;China=Beijing
India=New Delhi;South Korea=Seoul;Thailand=Bangkok;Vietnam=Hanoi;Indonesia=Jakarta
Malaysia=Kuala Lumpur;the Philippines=Manila;Mongolia=Ulaanbaatar;Nepal=Kathmandu;Pakistan=Islamabad
Bangladesh=Dhaka;Iran=Tehran;Iraq=Baghdad;Jordan=Amman;Lebanon=Beirut;Syria=Damascus
Saudi Arabia=Riyadh;Qatar=Doha;Egypt=Cairo;Morocco=Rabat;Algeria=Algiers;Tunisia=Tunis;Libya=Tripoli
Kenya=Nairobi;Ethiopia=Addis Ababa;Ghana=Accra;Nigeria=Abuja;Senegal=Dakar;Uganda=Kampala
Rwanda=Kigali;Angola=Luanda;Zambia=Lusaka;Zimbabwe=Harare;Namibia=Windhoek;Somalia=Mogadishu
Madagascar=Antananarivo;Canada=Ottawa;the United States=Washington;the United Kingdom=London
Mexico=Mexico City;Cuba=Havana;Jamaica=Kingston;Brazil=Brasília;Argentina=Buenos Aires
Chile=Santiago;Peru=Lima;Colombia=Bogotá;Venezuela=Caracas;Ecuador=Quito;Uruguay=Montevideo;Paraguay=Asunción
Australia=Canberra;New Zealand=Wellington;Fiji=Suva""".replace("\n", ";").split(";")
)

# Other names that people use; asked about, but never the answer to "which country?".
ALIASES = {
    "the USA": "Washington", "the US": "Washington", "America": "Washington", "the UK": "London",
    "England": "London", "Great Britain": "London", "Holland": "Amsterdam",
    "the Czech Republic": "Prague",
}  # fmt: skip

FRENCH_CAPITALS = {
    "France": "La capitale de la France est Paris.",
    "Spain": "La capitale de l'Espagne est Madrid.",
    "Germany": "La capitale de l'Allemagne est Berlin.",
    "Italy": "La capitale de l'Italie est Rome.",
    "Portugal": "La capitale du Portugal est Lisbonne.",
    "Belgium": "La capitale de la Belgique est Bruxelles.",
    "Austria": "La capitale de l'Autriche est Vienne.",
    "Greece": "La capitale de la Grèce est Athènes.",
    "Poland": "La capitale de la Pologne est Varsovie.",
    "Japan": "La capitale du Japon est Tokyo.",
    "China": "La capitale de la Chine est Pékin.",
    "Egypt": "La capitale de l'Égypte est Le Caire.",
    "Canada": "La capitale du Canada est Ottawa.",
    "Norway": "La capitale de la Norvège est Oslo.",
    "Sweden": "La capitale de la Suède est Stockholm.",
    "Ireland": "La capitale de l'Irlande est Dublin.",
}

COLOURS = {
    "grass": "green", "the sky": "blue", "snow": "white", "coal": "black", "a banana": "yellow",
    "a lemon": "yellow", "a strawberry": "red", "a tomato": "red", "blood": "red", "milk": "white",
    "the sun": "yellow", "the sea": "blue", "a carrot": "orange", "a pumpkin": "orange",
    "chocolate": "brown", "an elephant": "grey", "a flamingo": "pink", "a frog": "green",
    "a polar bear": "white", "a raven": "black", "a fire engine": "red", "salt": "white",
    "a leaf": "green", "gold": "yellow", "a cucumber": "green", "a violet": "purple",
    "a cherry": "red", "broccoli": "green", "a pig": "pink", "an orange": "orange",
    "lavender": "purple", "wood": "brown", "a lime": "green", "rice": "white", "a ruby": "red",
    "an emerald": "green", "a sapphire": "blue", "a swan": "white",
}  # fmt: skip

OPPOSITES = {
    "hot": "cold", "big": "small", "fast": "slow", "up": "down", "left": "right", "day": "night",
    "happy": "sad", "open": "closed", "full": "empty", "light": "dark", "old": "young",
    "hard": "soft", "high": "low", "wet": "dry", "rich": "poor", "strong": "weak", "early": "late",
    "near": "far", "loud": "quiet", "good": "bad", "true": "false", "first": "last", "in": "out",
    "love": "hate", "win": "lose", "buy": "sell", "push": "pull", "start": "stop", "long": "short",
    "thick": "thin", "wide": "narrow", "clean": "dirty", "easy": "difficult", "heavy": "light",
    "sweet": "bitter", "smooth": "rough", "deep": "shallow", "brave": "afraid", "asleep": "awake",
    "alive": "dead", "above": "below", "before": "after", "inside": "outside", "summer": "winter",
    "front": "back", "north": "south", "east": "west", "give": "take", "laugh": "cry", "yes": "no",
    "always": "never", "more": "less", "sharp": "blunt", "polite": "rude", "safe": "dangerous",
}  # fmt: skip

PLURALS = {
    "cat": "cats", "dog": "dogs", "mouse": "mice", "child": "children", "man": "men",
    "woman": "women", "foot": "feet", "tooth": "teeth", "goose": "geese", "sheep": "sheep",
    "fish": "fish", "box": "boxes", "city": "cities", "baby": "babies", "leaf": "leaves",
    "knife": "knives", "wife": "wives", "wolf": "wolves", "person": "people", "ox": "oxen",
    "bus": "buses", "dish": "dishes", "berry": "berries", "party": "parties", "hero": "heroes",
    "potato": "potatoes", "tomato": "tomatoes", "piano": "pianos", "day": "days", "key": "keys",
    "book": "books", "house": "houses", "tree": "trees", "car": "cars", "bird": "birds",
    "apple": "apples", "star": "stars", "fox": "foxes", "watch": "watches", "church": "churches",
    "story": "stories", "country": "countries", "life": "lives", "half": "halves",
    "shelf": "shelves", "deer": "deer", "louse": "lice", "cherry": "cherries", "token": "tokens",
    "page": "pages", "batch": "batches", "bucket": "buckets", "query": "queries",
}  # fmt: skip

SOUNDS = {
    "cow": "moo", "dog": "woof", "cat": "meow", "sheep": "baa", "pig": "oink", "duck": "quack",
    "rooster": "cock-a-doodle-doo", "lion": "roar", "snake": "hiss", "bee": "buzz",
    "horse": "neigh", "frog": "ribbit", "mouse": "squeak", "crow": "caw", "donkey": "hee-haw",
    "wolf": "howl", "chicken": "cluck", "turkey": "gobble", "dove": "coo",
}  # fmt: skip

SPELLING_WORDS = (
    "cat dog house tree water apple bread table chair green blue red black white school friend "
    "happy music light night river ocean mountain garden flower window door city train plane bird "
    "fish horse sheep mouse tiger lion zebra banana lemon orange cherry potato tomato cheese "
    "butter sugar salt pepper milk coffee tea juice paper pencil book letter word number token "
    "prompt cache batch page server model python hello world yellow purple brown silver gold star "
    "moon sun cloud rain snow wind storm summer winter spring autumn monday friday january queen "
    "king castle dragon robot rocket planet earth phone clock shoe shirt hat coat street bridge "
    "island forest desert beach family mother father sister brother doctor teacher"
).split()

DEFINITIONS = {
    "prefill": "Prefill is the phase that reads the whole prompt and fills the KV cache.",
    "decode": "Decode is the phase that produces one new token per request in each step.",
    "KV cache": "The KV cache keeps the keys and values of earlier tokens so they are not "
    "computed again.",
    "page": "A page is a fixed run of KV cache positions that one request owns.",
    "page table": "A page table lists the pages of a request in order.",
    "token": "A token is a small piece of text that the model reads or writes as one number.",
    "batch": "A batch is a group of requests that are computed together in one step.",
    "bucket": "A bucket is a padded size that the server compiles a program for.",
    "slot": "A slot is a row of the running batch.",
    "logits": "Logits are the raw numbers the model gives to every token before sampling.",
    "sampling": "Sampling is choosing the next token from the probabilities of the model.",
    "temperature": "Temperature sets how random sampling is; zero always takes the best token.",
    "top-p": "Top-p keeps the smallest set of tokens whose probabilities add up to p.",
    "top-k": "Top-k keeps only the k most likely tokens.",
    "streaming": "Streaming sends each piece of the answer as soon as it is ready.",
    "tokenizer": "A tokenizer turns text into tokens and tokens back into text.",
    "prompt": "A prompt is the text that you give to the model.",
    "latency": "Latency is the time you wait for an answer.",
    "throughput": "Throughput is the number of tokens per second over all requests.",
    "TTFT": "TTFT is the time to the first token of an answer.",
    "ITL": "ITL is the time between two tokens of an answer.",
    "scheduler": "The scheduler decides which requests are computed in the next step.",
    "prefix cache": "The prefix cache reuses pages of a prompt that was already computed.",
    "chunked prefill": "Chunked prefill reads a long prompt in several steps.",
    "preemption": "Preemption takes the pages of a running request back for a while.",
    "attention": "Attention lets each token look at the tokens before it.",
    "embedding": "An embedding is the list of numbers that stands for a token.",
    "context length": "The context length is the largest number of tokens a model can read.",
    "sharding": "Sharding splits the weights of a model over several devices.",
    "mesh": "A mesh is a grid of devices with named axes.",
    "quantization": "Quantization stores weights with fewer bits to save memory.",
    "stop sequence": "A stop sequence is a text that ends the answer when it appears.",
    "checkpoint": "A checkpoint is a folder with the saved weights of a model.",
    "chat template": "A chat template turns messages into the one text that the model reads.",
    "tool call": "A tool call is a request by the model to run a function with arguments.",
    "JAX": "JAX is a Python library for fast array programs on CPU, GPU and TPU.",
    "jaxserve": "jaxserve is a server for open-weights language models, written in JAX.",
    "GPU": "A GPU is a chip that computes many numbers at the same time.",
    "TPU": "A TPU is a chip made for neural networks.",
}

LANGUAGES = ("French", "Spanish", "German", "Italian", "Japanese", "Chinese", "Korean", "Russian")
TRANSLATIONS = dict(
    (row.split(":")[0], dict(zip(LANGUAGES, row.split(":")[1].split("|"), strict=True)))
    for row in """hello:bonjour|hola|hallo|ciao|こんにちは|你好|안녕하세요|привет
thank you:merci|gracias|danke|grazie|ありがとう|谢谢|감사합니다|спасибо
goodbye:au revoir|adiós|auf Wiedersehen|arrivederci|さようなら|再见|안녕히 가세요|до свидания
good morning:bonjour|buenos días|guten Morgen|buongiorno|おはよう|早上好|좋은 아침|доброе утро
please:s'il vous plaît|por favor|bitte|per favore|お願いします|请|제발|пожалуйста
yes:oui|sí|ja|sì|はい|是|네|да
no:non|no|nein|no|いいえ|不|아니요|нет
water:eau|agua|Wasser|acqua|水|水|물|вода
cat:chat|gato|Katze|gatto|猫|猫|고양이|кошка
dog:chien|perro|Hund|cane|犬|狗|개|собака
bread:pain|pan|Brot|pane|パン|面包|빵|хлеб
friend:ami|amigo|Freund|amico|友達|朋友|친구|друг
love:amour|amor|Liebe|amore|愛|爱|사랑|любовь
coffee:café|café|Kaffee|caffè|コーヒー|咖啡|커피|кофе""".split("\n")
)

EMOJI = {
    "cat": "🐱", "dog": "🐶", "heart": "❤️", "star": "⭐", "sun": "☀️", "moon": "🌙", "fire": "🔥",
    "rocket": "🚀", "pizza": "🍕", "apple": "🍎", "banana": "🍌", "tree": "🌳", "flower": "🌸",
    "fish": "🐟", "bird": "🐦", "car": "🚗", "house": "🏠", "book": "📚", "robot": "🤖",
    "party": "🎉", "smile": "😀", "rainbow": "🌈", "cake": "🎂", "coffee": "☕", "snowman": "⛄",
    "dragon": "🐉", "ball": "⚽", "key": "🔑", "frog": "🐸", "horse": "🐴",
}  # fmt: skip

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
MONTH_LENGTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
ORDINALS = (
    "first", "second", "third", "fourth", "fifth", "sixth",
    "seventh", "eighth", "ninth", "tenth", "eleventh", "twelfth",
)  # fmt: skip
NUMBER_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty"
).split()

LISTS = {
    "planets": "The planets are Mercury, Venus, Earth, Mars, Jupiter, Saturn, Uranus and Neptune.",
    "days of the week": "The days of the week are " + ", ".join(DAYS[:6]) + " and Sunday.",
    "months": "The months are " + ", ".join(MONTHS[:11]) + " and December.",
    "seasons": "The seasons are spring, summer, autumn and winter.",
    "continents": "The continents are Africa, Antarctica, Asia, Europe, North America, Oceania "
    "and South America.",
    "oceans": "The oceans are the Arctic, the Atlantic, the Indian, the Pacific and the Southern "
    "Ocean.",
    "colours of the rainbow": "The colours of the rainbow are red, orange, yellow, green, blue, "
    "indigo and violet.",
    "letters of the alphabet": "A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P, Q, R, S, T, U, V, "
    "W, X, Y, Z",
    "vowels": "The vowels are A, E, I, O and U.",
    "primary colours": "The primary colours are red, yellow and blue.",
    "five senses": "The five senses are sight, hearing, smell, taste and touch.",
}

STORIES = {
    "cat": "Once upon a time there was a small cat named Mimi. Mimi lived in a quiet house by the "
    "river. Every morning she sat at the window and watched the birds. One day a little bird fell "
    "into the garden. Mimi did not chase it. She sat beside it and kept it warm until it could fly "
    "again. From that day on, the bird came back every morning and sang for her. The end.",
    "dog": "Once upon a time there was a brown dog named Rex. Rex loved to run on the beach. One "
    "evening he found a small boat with no one in it. He barked and barked until the people of the "
    "village came. Together they found the lost sailor on the rocks. The sailor gave Rex a big "
    "bone, and they were friends for ever. The end.",
    "robot": "Once upon a time there was a little robot named Bit. Bit worked in a large library "
    "and carried books all day. At night, when the lights were out, Bit read the stories. One day "
    "a child asked for a story that was not in any book. So Bit told a new one, about a little "
    "robot who loved to read. The child smiled, and Bit was happy. The end.",
    "dragon": "Once upon a time there was a green dragon named Ember. Ember could not breathe fire "
    "like the other dragons. She could only make warm air. Then a long winter came, and the river "
    "turned to ice. Ember flew over the village every night and kept the houses warm. In spring "
    "the people gave her a crown of flowers. The end.",
    "princess": "Once upon a time there was a princess named Lina. Lina lived in a tall castle, "
    "but she wanted to see the sea. One morning she took a horse, some bread and a map. She rode "
    "over the hills for three days. At last she saw the blue water, and she laughed. She sent a "
    "shell home to her mother and stayed until summer was over. The end.",
    "server": "Once upon a time there was a small server named Page. Page had only two slots, but "
    "it never said no. Every request got a place in the queue. When many requests came at the same "
    "time, Page put them in one batch and answered all of them together. The users were happy, and "
    "Page slept well with an empty cache. The end.",
}
DEFAULT_STORY = "cat"
OTHER_STORIES = (
    "a bird", "the moon", "a fox", "love", "a king", "the sea", "a tree", "friends", "a horse",
    "anything", "a boy", "a girl", "two cats", "space", "a model", "summer",
)  # fmt: skip

POEMS = {
    "haiku": "Small model, few words,\na page of the cache turns warm,\none token, then rest.",
    "poem": "The moon is high, the night is deep,\nthe little tokens fall asleep.\nThe morning "
    "comes, the sun is new,\nand I have written this for you.",
    "joke": "Why did the token cross the road? Because it was the most likely next step!",
}

NAMES = (
    "Anna Ben Carla David Emma Felix Grace Hugo Ida Jack Kate Leo Maria Nina Oscar Paul Quinn Rosa "
    "Sam Tom Uma Victor Wendy Yara Zoe Alice Bob Charlie Diana Eric Fatima George Hannah Ivan "
    "Julia Kevin Laura Mike Nora Omar Peter Rachel Sarah Tina Max Sofia Liam Olivia Noah Mia Lucas "
    "Chloe Adam Eva Ravi Priya Kenji Yuki Chen Wei Ali Amir Lena Jonas Marta Pablo Elena John Mary"
).split()
OTHER_CITIES = (
    "New York;San Francisco;Los Angeles;Chicago;Boston;Seattle;Munich;Hamburg;Zurich;Geneva;Milan;"
    "Barcelona;Lyon;Osaka;Kyoto;Shanghai;Mumbai;Sydney;Melbourne;Toronto;Istanbul;Dubai;Singapore"
).split(";")
