% if page.errors:
<div class="notice bad" role="alert" aria-labelledby="problems" tabindex="-1">
  <h2 id="problems">{{t("errors.problems", n=len(page.errors))}}</h2>
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
