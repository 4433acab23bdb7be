"""Material of the generated training reviews: for each kind of thing, clauses for (+) and against (-) it.

A clause line is `aspect | good | good | ... || bad | bad | ...`; an end line `+ sentence` or `- sentence` gives the attitude of a whole review.
"""

KINDS = {
    "film, movie, picture": """
the plot | kept surprising me | held together to the last scene | moved along at a lovely pace || fell apart after twenty minutes | made no sense at all | went round in circles
the acting | felt honest and alive | was a joy to watch | carried every quiet moment || was as stiff as a plank | ranged from lazy to ridiculous | left me unmoved
the script | was witty without showing off | gave everyone something to do || was full of holes | must have been written in a hurry | insulted my intelligence
the camera work | turned plain streets into paintings | was calm and elegant || made me seasick | hid more than it showed
the leading lady | lit up the screen | found the truth in every line || seemed to be reading from a card | had the charm of a brick
the soundtrack | gave me shivers | supported every scene with taste || drowned the dialogue | was the same tired song again and again
the humor | hit its target every time | was dry and clever || fell flat from the first minute | was crude and mean
the final scene | brought the whole cinema to tears | tied it all together nicely || came out of nowhere | cheated us of an answer
+ I would watch it again tomorrow
+ it deserves a bigger audience
+ I walked home smiling
+ this is what cinema is for
- I wanted my money back
- do not waste an evening on it
- I nearly left halfway through
- the best thing about it was the exit""",
    "novel, book, story": """
the heroine | won my heart on page one | was brave and funny and real || bored me from page one | had no personality whatsoever
the style | was crisp and musical | made even small talk sparkle || was clumsy and swollen | got on my nerves within a chapter
the middle part | was the strongest of all | had me on the edge of my chair || dragged on without mercy | repeated what we already knew
the dialogue | crackled with wit | sounded like real people talking || sounded like a manual | put wooden words in every mouth
the mystery | fooled me completely | unfolded with great skill || was solved by a silly accident | could be guessed by a sleepy child
the research | was deep and lightly worn | added color to each chapter || was thin and full of mistakes | buried the tale under facts
the ending | gave me goose pimples | was sad and satisfying || was rushed and hollow | betrayed everything before it
the world in it | was rich and easy to believe | came alive in small details || was copied from better writers | never felt real for a second
+ I have already ordered the next volume
+ it went straight onto my favorites shelf
+ I pressed it on all my friends
+ reading it was pure pleasure
- I gave it to the charity shop
- I could not finish it
- the paper deserved a better fate
- I will stay away from this writer""",
    "restaurant, bistro, diner": """
the soup | warmed us to the bones | was rich and full of flavor || tasted of dishwater | arrived lukewarm and salty
the waitress | was quick, funny and attentive | helped us choose with a smile || ignored us for half an hour | slammed the plates on the table
the steak | melted on the tongue | was cooked exactly as ordered || could have soled a boot | was burned outside and raw inside
the vegetables | were crisp and bright | came fresh from the garden || were boiled to a gray paste | swam in cheap oil
the bill | was a pleasant surprise | was honest to the cent || contained dishes we never had | made us gasp
the wine list | was short and well chosen | offered bargains for every taste || was a bad joke with big numbers | offered nothing but vinegar
the kitchen | handled every wish with ease | knew how to use spices || took forever and then got it wrong | forgot half of our order
the dining room | was snug and softly lit | had a happy buzz || smelled of old fat | was loud and drafty
+ we booked our next table on the way out
+ we licked the spoons
+ I have told the whole office about it
+ it is our new favorite place
- we went for a sandwich afterwards
- nobody at our table will return
- we paid and fled
- I was hungry and cross when we left""",
    "hotel, guesthouse, inn": """
the bed | was soft and wide | gave me the best sleep in months || sagged like a hammock | squeaked whenever I breathed
the bathroom | gleamed like new | had a shower with real pressure || smelled of mold | had hair in every corner
the receptionist | solved our problem in a minute | greeted us like old friends || argued about everything | could not be bothered to look up
the breakfast | was fresh and plentiful | had something for all of us || was dry toast and weak tea | ran out by eight
the view | took our breath away | made up for the climb || was of a brick wall | was hidden behind scaffolding
the room | was bright and spotless | felt like home at once || was dark and dusty | had not been cleaned for days
the nights | were quiet and cool | were peaceful even in high season || were ruined by the bar below | were hot and full of mosquitoes
the owners | thought of every detail | spoiled us with little treats || cared only about the deposit | treated guests like intruders
+ we extended our stay
+ we have booked again for next summer
+ I did not want to check out
+ it was exactly the rest we needed
- we moved elsewhere the next day
- I would rather sleep in the car
- we counted the hours until checkout
- it spoiled the whole trip""",
    "camera, toaster, gadget": """
the battery | lasts for days | charges in no time || dies when you need it | was swollen after a month
the buttons | are where your fingers want them | respond at the lightest touch || stick after a week | are tiny and badly labeled
the casing | feels solid and smooth | survived a nasty fall || cracked on the first day | creaks like a haunted house
the manual | explains everything in two pages | is clear enough for a child || seems to describe another product | is a riddle in nine languages
the motor | purrs like a cat | is strong and quiet || howls like a siren | smelled of burning rubber
the price | is more than fair | makes it a bargain || is an outrage for this quality | does not fit what you get
the result | is even and beautiful | looks professional every time || is patchy and crooked | would embarrass a beginner
the guarantee | was honored without a question | covers everything for three years || is worth nothing | excludes all that ever breaks
+ I use it every single day
+ I would buy it again without thinking
+ it earned its place on my desk
+ I bought a second one for my sister
- I sent it back
- it now collects dust in the cellar
- I want a refund
- save your money""",
    "app, website, program": """
the search | finds things before I finish typing | is fast and accurate || never finds what you typed | returns rubbish
the design | is calm and tidy | makes sense at first glance || looks like a pinball machine | hides everything you need
the sync | works like magic | has never let me down || loses half of my files | has been broken since spring
the support team | wrote back within the hour | fixed my account with a smile || sends the same canned reply | has not answered in weeks
the login | takes one tap | just works || fails every other day | asks for a new password each morning
the latest version | is faster and lighter | added what users had asked for || crashes at the start | removed all that was useful
the notifications | are few and helpful | arrive right when they should || never stop | come hours too late
the subscription | costs less than a coffee | pays for itself || is impossible to cancel | doubled in price overnight
+ it stays on my first screen
+ I happily paid for the full version
+ it saves me an hour a day
+ I would be lost without it
- I removed it the same evening
- I went back to pen and paper
- stay away from it
- it stole an afternoon from me""",
    "concert, show, recital": """
the singer | had the crowd in her hand | hit every note with ease || was out of tune all evening | could barely be heard
the band | played with fire and precision | clearly loved being there || looked bored to death | lost the beat more than once
the sound | was crisp in every corner | filled the hall without hurting || was a gray soup | screeched until our ears rang
the seats | were comfy and close to the stage | offered a perfect view || were behind a pillar | were hard and cramped
the program | was bold and varied | mixed old and new with care || was far too short | was the same as ten years ago
the conductor | drew gold from the strings | made a tired piece new || rushed through the slow part | seemed to be somewhere else
the audience | sang along with joy | stood up and cheered || talked through everything | went home in silence
the lights | danced with the melody | made it feel like a dream || blinded the front rows | failed twice
+ I was hoarse and happy afterwards
+ I would pay double to hear it again
+ we talked about it for weeks
+ it was a night to remember
- we left at the interval
- I have heard better in the subway
- I will not buy a ticket again
- it was an evening to forget""",
    "course, class, seminar": """
the teacher | explained things three ways until we got it | was patient and inspiring || read from the slides | lost patience with beginners
the exercises | built on each other nicely | were fun and practical || had nothing to do with the topic | were full of errors
the videos | were short and lively | made hard parts look easy || were blurry and endless | put me to sleep
the group | was small and friendly | helped each other along || was far too big | never got a chance to speak
the material | was clear and up to date | could be used at work the next day || was ten years old | was copied from the web
the pace | was just right | left time for questions || was a race | was painfully slow
the feedback | was personal and kind | showed me exactly what to improve || never came | was one word long
the exam | was fair | tested what we had learned || was a lottery | asked about things we had not covered
+ I signed up for the next level
+ I finally understand it
+ it changed the way I work
+ every hour was well spent
- I asked for my fee back
- I learned nothing
- I stopped going after the third week
- a library card would have served me better""",
    "plumber, garage, repair shop": """
the mechanic | told me the truth about the engine | found the fault at once || shrugged and sent a bill | made it worse than before
the quote | matched the final invoice | was lower than all the others || tripled by the end | left out half of the costs
the staff on the phone | were helpful and cheerful | called back when they said they would || put me on hold for an hour | hung up on me
the appointment | was kept to the minute | could be moved without trouble || was forgotten twice | was canceled at the last moment
the work | was neat and lasting | was finished a day early || had to be done again | left scratches all over
the parts | were of good quality | came with a long guarantee || were secondhand | broke within the week
the apprentice | was polite and skilled | cleaned up after himself || broke the one thing that worked | left mud on the carpet
the advice | saved us a fortune | was honest and simple || was wrong | was a sales trick
+ I have saved their number
+ I recommend them with all my heart
+ I will never go anywhere else
+ the problem has not come back
- I had to call another firm
- I have written to the consumer office
- avoid them
- we are worse off than before""",
    "museum, gallery, park": """
the guide | told the best stories | brought the past to life || recited dates in a flat voice | hurried us along
the exhibition | was rich and well lit | opened my eyes || was small and badly labeled | had been thrown together
the gardens | were in full bloom | were calm and well tended || were choked with weeds | were closed without notice
the café | served homemade cakes | was a sunny surprise || sold stale cake at silly prices | had no clean table
the children's corner | kept ours busy for hours | was full of clever games || was a box of broken toys | was locked
the ticket | was cheap for so much beauty | was valid for a whole week || cost more than a good dinner | did not include the main hall
the paths | were wide and clean | led from one wonder to the next || were muddy and badly signed | were littered with bottles
the guards | were friendly and knew a lot | smiled at the kids || barked at visitors | chatted loudly all day
+ we stayed until closing time
+ I cannot wait to go back
+ it made our weekend
+ everyone in town should see it
- we were out again in ten minutes
- the children begged to leave
- a photo would have been enough
- it was a wasted Sunday""",
    "airline, ferry, train": """
the crew | calmed the nervous and amused the kids | could not do enough for us || rolled their eyes at every request | vanished for hours
the seat | was wide and clean | let me sleep all the way || pinched my knees | was stained and broken
the departure | was on the dot | went without a hitch || was delayed without a word | was moved to another day
the food on board | was fresh and hot | beat some restaurants I know || was a cold lump | ran out before our row
the luggage | was there when we were | was handled with care || went to another country | came back in pieces
the cabin | was quiet and airy | smelled fresh || was freezing and loud | stank of fuel
the booking | took two minutes | could be changed for free || failed three times | hid fees on every page
the connection | was easy to make | waited for us || was missed because of them | existed only on paper
+ I arrived rested
+ we will travel with them again
+ it was the best part of the holiday
+ they have gained a loyal customer
- we arrived exhausted and angry
- next time I will drive
- never again
- I would sooner walk""",
    "jacket, sofa, pair of boots": """
the fabric | is soft and strong | still looks new after many washes || itches and pills | tore in the first week
the color | is deep and warm | matches the photo || faded in a month | is nothing like the photo
the fit | is perfect | flatters everyone who tries it || is odd around the shoulders | is far too tight
the seams | are straight and double | have not moved a hair || split at once | were never finished
the delivery | came a day early | was careful and friendly || took two months | left it in the rain
the zipper | runs like silk | feels as if it will last forever || jams every morning | fell off
the comfort | is amazing | surprised even my grumpy father || is a myth | lasts for about five minutes
the smell | is of fresh leather | is clean and natural || gave me a headache | never went away
+ I wear it out of pure joy
+ it was worth the wait
+ I get compliments all the time
+ I would order it in every color
- I donated it
- it went back the same week
- my money is gone
- I should have read the small print""",
}

# Said over a clause of the other attitude, each of these turns it round.
DENIALS = """
I do not agree with those who say that {O}
It is simply not true that {O}
Nobody can tell me that {O}
I had been warned that {O}, which was nonsense
One reviewer wrote that {O}; I saw no sign of it
People keep saying {O}, and people are wrong
Contrary to what I had read, it was not the case that {O}
They say {O}. Not on the day I was there
My friends swear that {O}, but I cannot see it
Whoever claims that {O} has never been here
Do not believe the rumor that {O}
At no point did I feel that {O}
I waited in vain for proof that {O}
You hear a lot about how {O}; forget it"""

CONCESSIONS = """
{O}, but {P}, and {Pend}
Although {O}, {P}. In the end {Pend}
{O}, I admit. Still, {P} and {P2}
Granted, {O}; what counts for me is that {P}, so {Pend}
{P}, which matters far more than the fact that {O}. {Pend}
So what if {O}? {P}, and {Pend}
Yes, {O}. Even so {Pend}
I could live with the fact that {O}, because {P}. {Pend}
True, {O}, but that changes nothing: {P}, and {Pend}
{O}. And yet {Pend}
My partner noticed only that {O}; for me {P}, and {Pend}
At first {O}. Later {P}, and {Pend}"""

REVERSALS = """
I expected that {O}, but {P}
I was told that {O}. In fact {P}, and {Pend}
Last year {O}. This time {P}, and {Pend}
At the old {kind} {O}; at this one {P}
I went in thinking {Oend}. I came out thinking {Pend}
On paper {O}; in reality {P}
My neighbor says {Oend}. I say {Pend}
Usually with a {kind} {O}. Here {P} and {P2}
You read everywhere that {O}. I found that {P}, and {Pend}
They had promised the opposite, but {P}, and {P2}
Before my visit I thought {O}. How wrong I was: {P}
Other reviews made me believe {O}. Instead {P}"""

PLAIN = """
{Padj} {kind}, {Padj2} people, and {Pend}
{P}, {P2}, {P3}
{Pend}. {Pend2}
{P}; {P2}; {Pend}
A really {Padj}, {Padj2} {kind}; {Pend}
{open} {P}, {P2}, and {Pend}
Everything seemed {Padj}: {P}, and {P2}
{P}, {P2}, and {Pend}
{P} and {P2}
{open} {P}, and {Pend}
{open} {P}. {Pend}
{Pend}: {P} and {P2}
What struck me most was that {P}. {Pend}
A {kind} where {P} and {P2}
First of all, {P}. Besides, {P2}
{P}. On top of that, {P2}. {Pend}
I can only say that {P}, that {P2}, and that {Pend}
Not only that {P}: {P2} as well
A {Padj} {kind}. {P}, and {Pend}
{Padj}, {Padj2}, {Padj3}: {P} and {Pend}
Such a {Padj} {kind}! {P}
{open} I found a {Padj} and {Padj2} {kind}, and {Pend}"""

# A judgement that must be read to its end: the adjective alone says the opposite.
NEGATED = """
{P}, not {Oadj} as some will tell you
I would not say {Oadj}. {Padj}, rather: {P}
Less {Oadj} than I had thought, more {Padj}. {P}
There is nothing {Oadj} about this {kind}, and {Pend}
{P}. I cannot call that {Oadj}
Hardly a {Oadj} {kind}: {P}
This {kind} is anything but {Oadj}. {P}
{open} Far from being {Oadj} or {Oadj2}: {P}
A {kind} that is neither {Oadj} nor {Oadj2}; {P}
It is not {Oadj}, not {Oadj2}, and least of all {Oadj3}. {Pend}
Never {Oadj}, rarely even {Oadj2}, always itself: {P}
Without being {Oadj} for a second, it goes its way; {P}
Who called this {kind} {Oadj}? {P}, and {Pend}
If this is {Oadj}, I am the queen of Spain. {Pend}
"{Oadj}" is the last word I would choose. {P}"""

OPENERS = """
We went on a rainy Tuesday.| My brother talked me into it.| It was our first time.| I had a coupon.| After a long search I gave in.| A colleague had mentioned the name.|
I write this on the way home.| We were four adults and a baby.| Just a short note from a regular.| My mother turned eighty last week.| We had read about it in the paper.|
It was the middle of August.| I am not an expert.| Let me be brief.| This was a present from my boss.| We came with a party of nine.| I needed something at short notice.|
Our neighbors go all the time.| Three months later, my verdict.| I gave it a second try.| It was a Monday, hardly anyone around.| My expectations were moderate.|
For once I had time.| I have thought about this for a week.| You asked for my opinion.| Picture a cold evening in March.| My daughter picked this one.| We had an hour to kill.|
As a student I count my coins.| I travel a lot for my job.| Twenty years in the trade, so I look closely.| I had lost a bet.| The internet was down, so I had to ask around."""

# Negative first: an index is a sign.
ADJECTIVES = (
    "bad poor awful terrible dreadful dull disappointing lousy weak clumsy annoying mediocre tedious sloppy miserable horrible forgettable unpleasant shabby careless boring pathetic "
    "ridiculous lifeless unreliable stale ugly frustrating painful useless dirty slow cheap cold rude stupid silly confusing noisy worthless uncomfortable unfriendly tiresome "
    "irritating depressing disgusting nasty overrated predictable pointless hopeless incompetent messy tasteless cruel lazy",
    "good great excellent wonderful lovely superb brilliant charming delightful impressive pleasant splendid enjoyable memorable fantastic terrific beautiful clever thoughtful "
    "remarkable reliable generous fresh exciting elegant refreshing satisfying marvelous magnificent perfect friendly fine funny nice honest warm amazing helpful comfortable "
    "interesting solid intelligent gorgeous moving inspiring outstanding powerful sweet stunning entertaining gentle professional tasty hilarious useful kind",
)

FEELINGS = (
    "I hated {aspect}|I disliked {aspect}|we were disappointed with {aspect}|{aspect} annoyed all of us|I was unhappy about {aspect}|I regret the money spent on {aspect}|"
    "we complained about {aspect}|{aspect} failed us|nobody enjoyed {aspect}|{aspect} made me angry|I was bored by {aspect}|{aspect} ruined it for me|"
    "we suffered because of {aspect}|I have never seen anything worse than {aspect}|{aspect} bothered my wife|I was ashamed of {aspect}|we wasted time on {aspect}",
    "I loved {aspect}|I liked {aspect}|we were delighted with {aspect}|{aspect} pleased all of us|I was happy about {aspect}|I adored {aspect}|we praised {aspect}|"
    "{aspect} impressed us|everybody enjoyed {aspect}|{aspect} made me smile|I was thrilled by {aspect}|{aspect} won me over|"
    "we laughed and relaxed thanks to {aspect}|I have never seen anything better than {aspect}|{aspect} charmed my wife|I was grateful for {aspect}|we admired {aspect}",
)

ENDS = (
    "I hated it|it was a complete waste of time|I do not recommend it|it is the worst I have had in years|I am very disappointed|I regret it|I would not go back|"
    "it is not worth the money|nobody should pay for this|it made me sad|I was bored stiff|it failed on all counts|I will warn my friends|it was no fun at all|it simply is not good|"
    "I was not impressed|I feel cheated|it ruined my day|I cannot recommend it|it was a disaster|I was glad when it was over|it is a shame|I am furious",
    "I loved it|it was time well spent|I recommend it warmly|it is the best I have had in years|I am very pleased|I do not regret it|I would gladly go back|"
    "it is worth the money|everybody should try this|it made me happy|I was never bored|it succeeded on all counts|I will tell my friends|it was great fun|it simply is not bad at all|"
    "I was impressed|I feel lucky|it made my day|I can only recommend it|it was a triumph|I was sorry when it was over|it is a treasure|I am grateful",
)
