% if page.errors:
<div class="notice bad" role="alert" aria-labelledby="problems" tabindex="-1">
  <h2 id="problems">{{"There is a problem" if len(page.errors) == 1 else f"There are {len(page.errors)} problems"}}</h2>
  <ul>
%   for error in page.errors:
%     if error.href:
    <li><a href="{{error.href}}">{{error.text}}</a></li>
%     else:
    <li>{{error.text}}</li>
%     end
%   end
  </ul>
</div>
% end
