% # The foot of every page. It is kept for others, so it depends on nothing but t, prefix, contact, indexes and version.
<footer class="bottom">
% if indexes:
  <ul>
%   for address, name in indexes.items():
    <li><a href="{{prefix}}/{{address}}">{{name}}</a></li>
%   end
  </ul>
% end
% if contact:
  <p>{{!t.html("frame.questions", contact=contact)}}</p>
% end
% if version:
  <p>{{version}}</p>
% end
</footer>
